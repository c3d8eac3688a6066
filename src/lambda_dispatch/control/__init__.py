"""The Lambda side: channels that extensions park, and what they ask of the router."""
