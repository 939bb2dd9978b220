"""How fast the test data is made that everything else is measured with."""
