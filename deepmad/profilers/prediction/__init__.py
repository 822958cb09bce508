"""What a layer or a network is predicted to take. It opens no file and no device; every room above comes in."""
