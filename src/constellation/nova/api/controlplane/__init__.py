"""What each route of the registry does; a method is named like the operation it serves."""
