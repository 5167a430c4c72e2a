"""The whole stack under kills, pauses, wipes and outages, and a checker over what everybody saw. See README.md."""
