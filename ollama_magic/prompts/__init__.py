"""What goes into a prompt: values, files and pictures."""
