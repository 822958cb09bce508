"""What can be built: layers, blocks, architectures, spaces, presets, the torch builder."""
