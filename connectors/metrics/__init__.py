"""What our processes count, and how it is read: names in one table, plain numbers at work, Prometheus' text when asked."""
