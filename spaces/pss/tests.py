"""Cases of the metric's page; permix's own tests run them too."""

test_cases = [
    {
        "scores": [1.0, 0.0, 1.0, 1.0],
        "personas": ["poet", "poet", "expert", "expert"],
        "result": {"pss": 0.5, "worst": 0.5, "best": 1.0, "worst_persona": "poet", "best_persona": "expert"},
    },
    {
        "scores": [0.33, 0.353],
        "personas": ["child", "professor"],
        "result": {"pss": 0.33 / 0.353, "worst": 0.33, "best": 0.353},
    },
    {
        "scores": [0.4, 0.4, 0.4],
        "personas": ["a", "b", "c"],
        "result": {"pss": 1.0, "gap": 0.0, "std_personas": 0.0},
    },
]
