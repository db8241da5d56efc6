"""How fast the update call is, beside other versions of it. Not part of the product."""
