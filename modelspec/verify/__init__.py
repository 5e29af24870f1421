"""Whether a published folder is what its build made, answers as it did, and is what its project still builds."""
