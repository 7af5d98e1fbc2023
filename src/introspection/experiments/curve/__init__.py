"""What does training install, and when? States of an adapter on the way of its training, each asked as a model is."""
