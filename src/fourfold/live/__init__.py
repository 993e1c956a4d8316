"""The live viewer: a scene drawn on this machine for whoever looks at it in a browser, also while it is being trained."""
