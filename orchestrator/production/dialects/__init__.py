"""Exports of a deployment in the forms that other tools read: the Infrastructure Manager's templates, OSCAR's FDL."""
