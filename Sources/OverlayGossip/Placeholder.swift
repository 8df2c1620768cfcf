enum PlaceholderGossip {}
