"""What small and medium networks spend their time on, compiled for the processor at hand: on a CPU, in float32."""
