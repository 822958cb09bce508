def fit_probes(rows):
    class X:
        def to_dict(self): return {"x": 1}
    return X()
Prediction = None
