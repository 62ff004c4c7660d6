"""What tests share: how scripts are run, small networks, recorders, stand-ins for what a machine lacks."""
