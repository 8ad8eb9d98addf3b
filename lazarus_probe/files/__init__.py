"""Reading files that come from elsewhere: regular ones alone, and never more of them than a limit."""
