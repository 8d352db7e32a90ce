"""Critics: what a central learner thinks of agents' actions; used in training only."""
