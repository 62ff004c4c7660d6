"""Tables, figures and pages, made of what the other rooms wrote."""
