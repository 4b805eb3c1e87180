"""The last layer as a module: softmax and hinge heads, margin heads, conversion to and from estimators."""
