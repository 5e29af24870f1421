"""The server that goes into the image: answers the Open Inference Protocol for one published folder. Imports nothing of the rest."""
