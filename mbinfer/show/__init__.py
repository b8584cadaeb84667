"""What plans and measurements look like: as text and as pictures. Nothing of it is needed to run a model."""
