"""What a new platform or tenant is planted with."""
