"""The command lines `lazarus` and `circuit`."""
