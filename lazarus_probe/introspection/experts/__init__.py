"""What a mixture's routers and experts do."""
