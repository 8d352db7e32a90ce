"""An example of a third-party package: one communication method, one environment."""
