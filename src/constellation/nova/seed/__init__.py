"""What a new platform is planted with."""
