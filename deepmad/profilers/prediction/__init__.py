"""What a layer or network is predicted to take, from measured rows. It opens no file and no device."""
