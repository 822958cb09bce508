"""ONNX files: written from layer records, and read as layers. Back ends and measuring may come in."""
