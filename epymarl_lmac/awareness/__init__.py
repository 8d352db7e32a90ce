"""What every agent can know about the state: auxiliary decoders and the tables made from them."""
