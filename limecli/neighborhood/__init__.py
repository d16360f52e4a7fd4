"""Where LIME looks: draws around an instance. numpy and scipy only, no input or output."""
