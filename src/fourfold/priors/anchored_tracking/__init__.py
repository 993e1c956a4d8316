"""3D tracks from any 2D tracker and any depth: confident 2D tracks anchor an iterative 3D tracker (AnchorTAP3D, spec himor_4dgs360.md section 5)."""
