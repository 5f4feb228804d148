"""What is to be solved: one package per radio-resource problem."""
