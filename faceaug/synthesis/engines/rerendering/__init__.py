"""The engine that turns and relights photographs."""
