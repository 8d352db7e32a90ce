"""What runners, controllers and learners share: episode data, action selection, schedules, statistics."""
