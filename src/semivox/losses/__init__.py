"""Loss functions of tensors: functions without state, computed in float32 also under autocast."""
