"""What LIME fits: a weighted linear model of few features. numpy, no input or output."""
