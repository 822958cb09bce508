"""ONNX files: written from layer records, and read as layers. Back ends and measuring come in, and exports."""
