"""What a network is: geometry, channels, rates and the interference graph."""
