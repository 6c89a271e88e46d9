"""Changes and events hammered together on the whole real stack: nothing goes out later than a change was answered."""
