"""Words with a circular order, and sentences that end in any of them. The sentences are our own."""

from __future__ import annotations

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
# Each fits a day and a month alike, and none says which.
SENTENCES = (
    "The word on the calendar was {word}",
    "Her favourite of them all is {word}",
    "He wrote a short poem about {word}",
    "They agreed that it would be {word}",
    "What comes to my mind first is {word}",
    "The page was torn off at {word}",
    "Nobody in the office likes {word}",
    "The new song is simply called {word}",
    "The answer to the riddle was {word}",
    "She circled one of the names: {word}",
    "We had to wait until {word}",
    "The deadline has been moved to {word}",
    "The shop will be closed until {word}",
    "Everything should be ready by {word}",
    "The first word that the child could spell was {word}",
    "On the wall somebody had painted {word}",
    "The trip was planned for early {word}",
    "The letter arrived at the end of {word}",
    "It rained for most of {word}",
    "The ship is expected back before {word}",
    "There is hardly any time left before {word}",
    "The report says nothing about {word}",
    "All of us are looking forward to {word}",
    "The exhibition opens in the middle of {word}",
)
