-- Reads the state.
return state()
