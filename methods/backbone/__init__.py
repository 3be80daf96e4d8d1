"""The frozen text-to-image model, its attention sites and its one sampling loop."""
