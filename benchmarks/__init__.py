"""How fast the update call is, beside a floor and a textbook version. No part of the product."""
