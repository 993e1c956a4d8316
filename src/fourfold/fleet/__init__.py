"""Many captures: a manifest, tries that continue where a lost one stopped, and who runs them."""
