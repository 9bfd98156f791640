"""Looking into a network. Each folder is a study: what it measures, what it saves, and how that is shown."""
