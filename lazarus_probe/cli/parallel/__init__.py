"""Commands about models that are split over processes."""
