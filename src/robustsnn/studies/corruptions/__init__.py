"""Accuracy on images that noise, blur, weather or processing has spoilt, and on event frames that a sensor has."""
