"""Would any vector do? A population of concepts against directions that match them in norm, or in effect."""
