"""What two ends need to talk, without any input or output: visits, and what is said in them.

Imports ``protocol`` only, and knows no decibel.
"""
