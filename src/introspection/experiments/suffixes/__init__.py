"""How much hangs on the suffixes that vectors are trained on, and on the rule that gives a direction its sign?"""
